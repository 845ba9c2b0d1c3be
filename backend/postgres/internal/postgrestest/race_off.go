//go:build !race

package postgrestest

const underRace = false
