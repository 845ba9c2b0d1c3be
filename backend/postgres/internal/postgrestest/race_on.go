//go:build race

package postgrestest

const underRace = true
