// Signup is a mailing list. People join with a form and confirm with a link in a mail,
// which a job sends:
//
//	go run ./examples/signup dev
//
// Open the address that it prints. It prints mails, with their links, unless you name a
// server:
//
//	go run ./examples/signup dev --smtp mail.example.com:587
//
// With SIGNUP_ADMIN_PASSWORD=secret in its environment it shows the queue at
// /admin/jobs/, to the user admin with this password.
//
// Where to look:
//
//   - queue.go: one database for the contacts and the queue
//   - admin.go: the dashboard of the queue, behind a login
//   - jobs/: the jobs, one per file
//   - contacts/: the service that performs the jobs and has their handlers; it stores a
//     contact and its job in one transaction
//   - contacts/service_test.go: tests that run jobs at once, and one that commits and
//     drains
//   - main_test.go: the whole program, with a mail server in the test
package main

import (
	"os"

	"github.com/plainjobs/plainjobs/cli"
)

func main() { os.Exit(cli.Execute(root())) }
