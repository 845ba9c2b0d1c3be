package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/cli"
	"github.com/plainjobs/plainjobs/dashboard"
	"github.com/plainjobs/plainjobs/examples/signup/contacts"
	"github.com/plainjobs/plainjobs/examples/signup/jobs"
	"github.com/plainjobs/plainjobs/examples/signup/mail"
)

// An app has the program's settings and, once open, its parts.
type app struct {
	db, addr, url string
	smtp, from    string
	adminPassword string

	contacts *contacts.Service
}

// root returns the root command: the settings, and the commands of package cli.
func root() *cobra.Command {
	a := &app{adminPassword: os.Getenv("SIGNUP_ADMIN_PASSWORD")} // other users can read a command line
	c := &cobra.Command{Use: "signup", Short: "A mailing list with confirmed contacts"}
	flags := c.PersistentFlags()
	flags.StringVar(&a.db, "db", env("DB", cmp.Or(os.Getenv("PLAINJOBS_DB"), "signup.db")), "keep contacts and jobs in `FILE`, or $SIGNUP_DB")
	flags.StringVar(&a.addr, "addr", env("ADDR", "localhost:8080"), "serve at `ADDRESS`, or $SIGNUP_ADDR")
	flags.StringVar(&a.url, "url", env("URL", ""), "the `URL` in mails, or $SIGNUP_URL; the default is the address")
	flags.StringVar(&a.smtp, "smtp", env("SMTP", ""), "send mails through the SMTP server at `ADDRESS`, or $SIGNUP_SMTP; the default prints them")
	flags.StringVar(&a.from, "from", env("FROM", "Signup <signup@example.com>"), "the sender, or $SIGNUP_FROM")
	c.AddCommand(cli.Commands(cli.App{Open: a.open, Setup: a.setup, Serve: a.serve, Close: a.close, Dashboard: dashboard.Handler})...)
	return c
}

func env(name, otherwise string) string { return cmp.Or(os.Getenv("SIGNUP_"+name), otherwise) }

// base returns the start of links in mails.
func (a *app) base() (string, error) {
	if a.url != "" {
		return a.url, nil
	}
	host, port, err := net.SplitHostPort(a.addr)
	switch ip := net.ParseIP(host); {
	case err != nil:
		return "", cli.Usage(fmt.Errorf("--addr: %w", err))
	case port == "0":
		return "", cli.Usage(errors.New("--addr has port 0, which is chosen when the server starts: give --url for the links in mails"))
	case host == "" || ip.IsUnspecified():
		host = "localhost" // it listens on all addresses
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// setup binds the handlers, whose dependencies are open now.
func (a *app) setup(ctx context.Context, q *plainjobs.Queue) error {
	sender, err := a.sender()
	if err != nil {
		return err
	}
	base, err := a.base()
	if err != nil {
		return err
	}
	a.contacts.Mail, a.contacts.URL = sender, base
	plainjobs.Handle(q, jobs.DoubleOptIn, a.contacts.SendDoubleOptIn)
	plainjobs.Handle(q, jobs.DailyReport, a.contacts.Report)
	return a.contacts.Migrate(ctx)
}

// sender returns the sender of mails. The password comes from the environment, because
// other users can read a command line.
func (a *app) sender() (mail.Sender, error) {
	if a.smtp == "" {
		return &mail.Printer{To: os.Stdout, From: a.from}, nil
	}
	return mail.NewSMTP(a.smtp, a.from, os.Getenv("SIGNUP_SMTP_USER"), os.Getenv("SIGNUP_SMTP_PASSWORD"))
}
