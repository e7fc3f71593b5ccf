package main

// check ends the program: a measurement that fails is none.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// must is check for a call with a result.
func must[T any](v T, err error) T {
	check(err)
	return v
}
