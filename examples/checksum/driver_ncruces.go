//go:build ncruces

package main

import _ "github.com/ncruces/go-sqlite3/driver"

// It replaces mattn, because both register the name "sqlite3".
func init() {
	drivers["ncruces"] = driver{
		name:   "sqlite3",
		params: "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(normal)",
	}
}
