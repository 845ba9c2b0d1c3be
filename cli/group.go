package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

func (p *program) groupCommand() *cobra.Command {
	var seal, pause, resume, cancel, remove, yes bool
	c := &cobra.Command{
		Use:   "group ID [flags]",
		Short: "Show, seal, pause, cancel or delete a group of jobs",
		Long: `Group shows how far a group has come, its callbacks, the groups in it and its latest
failed members. "jobs --group ID" lists its members, and retry, cancel and delete take
--group. A group ends only when it is sealed: --seal does it for a program that
stopped before. --pause stops its members, and those of the groups in it, from starting
until --resume; running ones go on, and a deadline counts. --cancel seals the group and cancels its members, and those of the
groups in it; callbacks with OnEnd then run. --delete deletes the group with its
members and callbacks, none of which may run.`,
		Example: `  group 7
  group 7 --json | jq .open
  group 7 --seal
  group 7 --pause
  group 7 --delete --yes`,
		Args: takes(1, 1),
	}
	c.Flags().BoolVar(&seal, "seal", false, "seal the group")
	c.Flags().BoolVar(&pause, "pause", false, "start no more of its members")
	c.Flags().BoolVar(&resume, "resume", false, "end a pause")
	c.Flags().BoolVar(&cancel, "cancel", false, "seal the group and cancel its members")
	c.Flags().BoolVar(&remove, "delete", false, "delete the group, its members and its callbacks")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		id, err := parseGroup(args[0])
		if err != nil {
			return err
		}
		if count(seal)+count(pause)+count(resume)+count(cancel)+count(remove) > 1 {
			return usage("group: give at most one of --seal, --pause, --resume, --cancel and --delete")
		}
		changes := seal || pause || resume || cancel || remove
		open := p.openReadOnly
		if changes {
			open = p.open
		}
		q, done, err := open(ctx)
		if err != nil {
			return err
		}
		defer done()
		g, err := engine.TreeOf(ctx, (*engine.Handle)(q).Queue().Backend, id)
		switch {
		case errors.Is(err, plainjobs.ErrNotFound):
			return nothing("group %d does not exist, or was deleted", id)
		case err != nil:
			return err
		case !changes && s.json:
			return s.object(groupJSON(g))
		case !changes:
			return s.group(g)
		}
		verb := map[bool]string{seal: "seal", pause: "pause", resume: "resume", cancel: "cancel", remove: "delete"}[true]
		if !yes && (cancel || remove) {
			do := fmt.Sprintf("%s %s (%s)", verb, engine.GroupName(&g.GateInfo), engine.GroupProgress(&g.GateInfo))
			if err := s.ask(ctx, do, confirmYes); err != nil {
				return err
			}
		}
		return s.changeGroup(ctx, q.GroupByID(id), verb)
	})
}

// changeGroup seals, pauses, resumes, cancels or deletes a group.
func (s *screen) changeGroup(ctx context.Context, g *plainjobs.Group, verb string) (err error) {
	o := outcome{Operation: verb, Matched: 1, Affected: 1}
	text := fmt.Sprintf("sealed: group %d", g.ID())
	switch verb {
	case "seal":
		err = g.Seal(ctx)
	case "pause":
		err = g.Pause(ctx)
		text = fmt.Sprintf("paused: group %d", g.ID())
	case "resume":
		err = g.Resume(ctx)
		text = fmt.Sprintf("resumed: group %d", g.ID())
	case "cancel":
		o.Affected, err = g.Cancel(ctx)
		text = fmt.Sprintf("cancelled: %d", o.Affected)
	case "delete":
		err = g.Delete(ctx)
		text = fmt.Sprintf("deleted: group %d", g.ID())
	}
	switch {
	case err != nil:
		return err
	case s.json:
		return s.object(o)
	}
	s.say("%s", text)
	return nil
}

func parseGroup(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 {
		return 0, usage("%q is not a group ID: give a positive number, e.g. 7", text)
	}
	return id, nil
}

func (p *program) groupsCommand() *cobra.Command {
	var all bool
	var before int64
	var limit int
	c := &cobra.Command{
		Use:   "groups [flags]",
		Short: "List groups of jobs, the newest first",
		Long: `Groups lists the groups that have not ended, and with --all the others that are still
stored. MEMBERS shows how many of the members have ended, and CALLBACKS how many jobs
wait for the group.`,
		Example: `  groups
  groups --all --limit 100
  groups --json`,
		Args: takes(0, 0),
	}
	c.Flags().BoolVar(&all, "all", false, "also groups that have ended")
	c.Flags().Int64Var(&before, "before", 0, "only groups with an ID below `ID`")
	c.Flags().IntVar(&limit, "limit", 20, "list at most `N` groups")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		switch {
		case limit < 1 || limit > 1000:
			return usage("--limit %d is out of range: give 1 to 1000", limit)
		case before < 0:
			return usage("--before %d is not a group ID: give a positive number", before)
		}
		q, done, err := p.openReadOnly(ctx)
		if err != nil {
			return err
		}
		defer done()
		groups, next, err := q.Groups(ctx, !all, before, limit)
		if err != nil {
			return err
		}
		if len(groups) == 0 {
			if all {
				return nothing("there are no groups")
			}
			return nothing("no group is open; --all lists groups that have ended")
		}
		t := &table{header: []string{"ID", "LABEL", "STATE", "MEMBERS", "CALLBACKS", "CREATED", "ENDED"}}
		for i := range groups {
			g := &groups[i]
			if s.json {
				if err := s.object(groupJSON(&engine.GroupTree{GateInfo: *g})); err != nil {
					return err
				}
				continue
			}
			t.add(g.ID, cut(g.Label, 40), groupCell(g), engine.GroupProgress(g), g.Waiting, s.when(g.CreatedAt), s.when(g.EndedAt))
		}
		if s.json {
			return nil
		}
		if err := s.print(t); err != nil {
			return err
		}
		if next != 0 {
			s.say("there are more; --limit and --before %d show them", next)
		}
		return nil
	})
}

func groupCell(g *backend.GateInfo) cell {
	text := engine.GroupState(g)
	switch {
	case g.Failed > 0:
		return cell{text, red}
	case text == "not sealed", text == "paused", g.Cancelled > 0:
		return cell{text, yellow}
	}
	return cell{text: text}
}

// group prints a group as a table and a tree.
func (s *screen) group(g *engine.GroupTree) error {
	t := &table{header: []string{"GROUP", strconv.FormatInt(g.ID, 10)}}
	if g.Label != "" {
		t.add("label", g.Label)
	}
	t.add("state", groupCell(&g.GateInfo))
	t.add("members", engine.GroupProgress(&g.GateInfo))
	t.add("created", s.stamp(g.CreatedAt))
	if !g.Deadline.IsZero() {
		t.add("deadline", s.stamp(g.Deadline))
	}
	if !g.EndedAt.IsZero() {
		t.add("ended", s.stamp(g.EndedAt))
		t.add("took", short(g.EndedAt.Sub(g.CreatedAt)))
	}
	if g.Parent != 0 {
		t.add("in group", g.Parent)
	}
	if err := s.print(t); err != nil {
		return err
	}
	if branches := s.branches(g); len(branches) > 0 {
		fmt.Fprintln(s.out)
		s.tree("", branches)
	}
	return nil
}

// A branch is a line of a tree with those below it.
type branch struct {
	text  cell
	below []branch
}

// branches returns what belongs to a group.
func (s *screen) branches(g *engine.GroupTree) (all []branch) {
	for i := range g.Callbacks {
		j := &g.Callbacks[i]
		all = append(all, branch{text: jobCell(engine.CallbackName(j.Gating.When)+" ", j)})
	}
	for _, inner := range g.Inner {
		text := groupCell(&inner.GateInfo)
		text.text = fmt.Sprintf("%s: %s, %s", engine.GroupName(&inner.GateInfo), text.text, engine.GroupProgress(&inner.GateInfo))
		all = append(all, branch{text, s.branches(inner)})
	}
	if g.More {
		all = append(all, branch{text: cell{text: "more groups: groups --all lists them"}})
	}
	for i := range g.Failed {
		all = append(all, branch{text: jobCell("member ", &g.Failed[i])})
	}
	if rest := g.GateInfo.Failed - int64(len(g.Failed)); len(g.Failed) > 0 && rest > 0 {
		all = append(all, branch{text: cell{text: fmt.Sprintf("%s more failed: jobs --group %d --state failed lists them", engine.Thousands(rest), g.ID)}})
	}
	return all
}

func jobCell(role string, j *backend.Info) cell {
	text := fmt.Sprintf("%s%s #%d: %v", role, j.Name, j.ID, j.State)
	if n := len(j.Errors); n > 0 && j.State != backend.Done {
		line, _, _ := strings.Cut(j.Errors[n-1].Error, "\n")
		text += ": " + cut(line, 120)
	}
	return cell{text, stateColours[j.State]}
}

// tree prints branches with lines between them.
func (s *screen) tree(indent string, branches []branch) {
	for i, b := range branches {
		mark, below := "├─ ", "│  "
		if i == len(branches)-1 {
			mark, below = "└─ ", "   "
		}
		text := clean(b.text.text)
		if s.live && b.text.colour != 0 {
			text = b.text.colour.paint(text)
		}
		fmt.Fprintf(s.out, "%s%s%s\n", indent, mark, text)
		s.tree(indent+below, b.below)
	}
}

// A groupRecord is the output of a group with --json.
type groupRecord struct {
	ID        int64          `json:"id"`
	Label     string         `json:"label,omitempty"`
	State     string         `json:"state"`
	Parent    int64          `json:"parent,omitempty"`
	Sealed    bool           `json:"sealed"`
	Paused    bool           `json:"paused,omitempty"`
	Total     int64          `json:"total"`
	Open      int64          `json:"open"`
	Done      int64          `json:"done"`
	Failed    int64          `json:"failed"`
	Cancelled int64          `json:"cancelled"`
	Waiting   int64          `json:"waiting"`
	CreatedAt time.Time      `json:"created_at"`
	EndedAt   *time.Time     `json:"ended_at,omitempty"`
	Deadline  *time.Time     `json:"deadline,omitempty"`
	Callbacks []callbackJSON `json:"callbacks,omitempty"`
	Groups    []groupRecord  `json:"groups,omitempty"`
	// FailedJobs are the IDs of the newest failed members.
	FailedJobs []int64 `json:"failed_jobs,omitempty"`
}

type callbackJSON struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	On    string `json:"on"`
	State string `json:"state"`
}

func groupJSON(g *engine.GroupTree) groupRecord {
	r := groupRecord{
		ID: g.ID, Label: g.Label, State: engine.GroupState(&g.GateInfo), Parent: g.Parent, Sealed: g.Sealed, Paused: g.Paused,
		Total: g.Total, Open: g.Open, Done: g.Done, Failed: g.GateInfo.Failed, Cancelled: g.Cancelled, Waiting: g.Waiting,
		CreatedAt: g.CreatedAt, EndedAt: some(g.EndedAt), Deadline: some(g.Deadline),
	}
	for i := range g.Callbacks {
		j := &g.Callbacks[i]
		r.Callbacks = append(r.Callbacks, callbackJSON{j.ID, j.Name, engine.CallbackName(j.Gating.When), j.State.String()})
	}
	for _, inner := range g.Inner {
		r.Groups = append(r.Groups, groupJSON(inner))
	}
	for i := range g.Failed {
		r.FailedJobs = append(r.FailedJobs, g.Failed[i].ID)
	}
	return r
}
