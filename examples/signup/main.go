// Signup is a list of contacts that people join by a form, and confirm by a
// link in a mail that a job sends:
//
//	go run ./examples/signup dev
//
// Then open the address that it prints. Mails are printed too, links included,
// until a server is named:
//
//	go run ./examples/signup dev --smtp mail.example.com:587
//
// Where to look:
//
//   - queue.go: one database for the contacts and the queue
//   - jobs/: the jobs; each file is one, and is called as it is
//   - contacts/: the service that performs them, with the contact and its job in
//     one transaction, and has their handlers
//   - contacts/service_test.go: tests that run the jobs at once, and one that
//     commits and drains
//   - main_test.go: the whole path, with a mail server in the test
package main

import (
	"os"

	"github.com/plainjobs/plainjobs/cli"
)

func main() { os.Exit(cli.Execute(root())) }
