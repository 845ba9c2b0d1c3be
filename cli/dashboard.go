package cli

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/dashboard"
)

func (p *program) dashboardCommand() *cobra.Command {
	var address string
	var readOnly bool
	c := &cobra.Command{
		Use:   "dashboard [flags]",
		Short: "Serve web pages that show and change the queue, to this machine",
		Long: `Dashboard serves web pages that show jobs with their errors, workers, schedules,
limits and problems, until it is interrupted. The pages can retry, cancel and delete
jobs, and pause names and schedules; --read-only serves pages that only show. Dashboard
prints a link with a random token, which the pages need. It serves only this machine. To
show the pages to others, mount package dashboard in the program's web server, behind
its login.`,
		Example: `  dashboard
  dashboard --read-only
  dashboard --addr 127.0.0.1:7080`,
		Args: takes(0, 0),
	}
	c.Flags().StringVar(&address, "addr", "127.0.0.1:0", "serve at the loopback `ADDRESS`; port 0 is any free one")
	c.Flags().BoolVar(&readOnly, "read-only", false, "only show, and do not upgrade the store's tables")
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		open := p.open
		if readOnly {
			open = p.openReadOnly
		}
		q, done, err := open(ctx)
		if err != nil {
			return err
		}
		defer done()
		token := rand.Text()
		gate := &tokenGate{token: token, most: dashboard.Full}
		if readOnly {
			gate.most = dashboard.Read
		}
		gate.pages = p.app.Dashboard(q, &dashboard.Options{Authorize: gate.authorize, User: localUser, Program: withDB(c)})
		d, err := serveDashboard(ctx, "--addr", address, gate)
		if err != nil {
			return err
		}
		defer d.close()
		if _, err := fmt.Fprintf(s.out, "%s/?token=%s\n", d.url, token); err != nil {
			return err
		}
		return d.wait(ctx)
	})
}

// withDB returns the command that starts this program again, with its flag --db.
func withDB(c *cobra.Command) string {
	program := called(c.Root().Name())
	if f := c.Flags().Lookup("db"); f != nil && f.Changed {
		program += " --db '" + strings.ReplaceAll(f.Value.String(), "'", `'\''`) + "'"
	}
	return program
}

// A tokenGate serves pages to browsers that have followed the link with the token.
type tokenGate struct {
	token string
	most  dashboard.Role // what the token gives
	pages http.Handler
}

// cookie returns the name of the cookie with the token. Cookies are shared by all ports.
func (g *tokenGate) cookie() string { return "plainjobs-" + g.token[:6] }

func (g *tokenGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	given := r.URL.Query().Get("token")
	if subtle.ConstantTimeCompare([]byte(given), []byte(g.token)) != 1 {
		g.pages.ServeHTTP(w, r)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: g.cookie(), Value: g.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, "/", http.StatusSeeOther) // out of the address bar
}

func (g *tokenGate) authorize(r *http.Request, action dashboard.Action, name string) dashboard.Role {
	c, err := r.Cookie(g.cookie())
	if err != nil || subtle.ConstantTimeCompare([]byte(c.Value), []byte(g.token)) != 1 {
		return dashboard.None
	}
	return min(g.most, dashboard.Loopback(r, action, name))
}

// localUser returns the user who runs this program.
func localUser(*http.Request) string { return userName() }

// A dashboardServer serves the dashboard on a loopback address.
type dashboardServer struct {
	url    string
	server *http.Server
	ended  chan error
}

// serveDashboard serves pages at an address. Flag is where the address comes from.
func serveDashboard(ctx context.Context, flag, address string, pages http.Handler) (*dashboardServer, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usage("%s %s: %w", flag, address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, usage("%s %s: the dashboard serves only this machine: give a loopback address, e.g. 127.0.0.1:7080", flag, address)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	d := &dashboardServer{
		url: "http://" + l.Addr().String(), server: &http.Server{Handler: pages, ReadHeaderTimeout: 5 * time.Second}, ended: make(chan error, 1),
	}
	go func() { d.ended <- d.server.Serve(l) }() // close ends it
	return d, nil
}

// wait waits for a signal, or for the server to fail.
func (d *dashboardServer) wait(ctx context.Context) error {
	select {
	case err := <-d.ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (d *dashboardServer) close() { _ = d.server.Close() }

// devDashboard is where dev serves the dashboard, if the port is free.
const devDashboard = "127.0.0.1:7080"

// devPages serves the dashboard of dev, and prints its address.
func (p *program) devPages(ctx context.Context, s *screen, q *plainjobs.Queue, o *workOptions) (stop func(), err error) {
	pages := p.app.Dashboard(q, &dashboard.Options{Authorize: dashboard.Loopback, User: localUser, Program: o.program})
	d, err := serveDashboard(ctx, "--dashboard", o.dashboard, pages)
	if o.dashboard == devDashboard && err != nil && !errors.Is(err, context.Canceled) {
		d, err = serveDashboard(ctx, "--dashboard", "127.0.0.1:0", pages) // another dev has the port
	}
	if err != nil {
		return nil, err
	}
	s.say("dashboard at %s", d.url)
	return d.close, nil
}
