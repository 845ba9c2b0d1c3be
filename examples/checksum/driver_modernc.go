package main

import _ "modernc.org/sqlite"

func init() {
	drivers["modernc"] = driver{
		name:   "sqlite",
		params: "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(normal)",
	}
}
