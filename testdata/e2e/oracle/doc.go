// Package oracle compares this project's packages with those of Kubernetes that they stand in for: both are asked the
// same, on generated input, and have to say the same. Where they differ on purpose, the test names the row of the
// README's table of differences.
//
//	go -C testdata/e2e test ./oracle
//
// A test that fails says the seed of its input; see package generate. No cluster is needed.
package oracle
