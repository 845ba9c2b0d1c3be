package dashboard

import (
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs"
)

// jobsCommand returns the command that lists the jobs of a filter, or nothing if there is
// none.
func (h *handler) jobsCommand(f *filter) string { return h.command(f, f.States, "jobs") }

// changeCommand returns the command that takes an action on all jobs of a filter, or
// nothing if there is none.
func (h *handler) changeCommand(v *verb, f *filter) string {
	words := map[Action][]string{
		Retry: {"retry", "--all"}, RunNow: {"retry", "--all"}, Cancel: {"cancel", "--all"}, Delete: {"delete", "--all"}, FreeKey: {"free", "--all"},
		Prioritize: {"priority", "--all", "--to", "PRIORITY"},
	}
	return h.command(f, v.of(f.States), words[v.action]...)
}

// command returns a command with the flags of a filter. No flag searches in payloads.
func (h *handler) command(f *filter, states []plainjobs.State, words ...string) string {
	if f.Payload != "" {
		return ""
	}
	words = append([]string{h.opts.Program}, words...)
	group := ""
	if f.Group != 0 {
		group = strconv.FormatInt(f.Group, 10)
	}
	flags := [][2]string{{"state", strings.Join(stateNames(states), ",")}, {"name", strings.Join(f.Names, ",")}}
	for _, pair := range f.Pairs() {
		flags = append(flags, [2]string{"metadata", pair})
	}
	flags = append(flags, [][2]string{{"key", f.Key}, {"error", f.Error}, {"since", f.since}, {"until", f.until}, {"group", group}}...)
	for _, flag := range flags {
		if flag[1] == "" {
			continue
		}
		value, ok := quoted(flag[1])
		if !ok {
			return ""
		}
		words = append(words, "--"+flag[0], value)
	}
	if f.HasKey {
		words = append(words, "--has-key")
	}
	return strings.Join(words, " ")
}
