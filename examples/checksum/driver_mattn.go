//go:build cgo && !ncruces

package main

import _ "github.com/mattn/go-sqlite3"

func init() {
	drivers["mattn"] = driver{
		name:   "sqlite3",
		params: "_txlock=immediate&_busy_timeout=10000&_synchronous=normal",
	}
}
