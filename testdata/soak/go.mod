module kubeletauth/testdata/soak

go 1.26

require kubeletauth v0.0.0

replace kubeletauth => ../..
