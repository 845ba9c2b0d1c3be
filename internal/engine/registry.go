package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// registry has every definition of the program, by name and alias.
var registry = struct {
	sync.Mutex
	byName map[string]*Definition
	folded map[string]*Definition // by the names in lower case
	all    []*Definition
}{byName: map[string]*Definition{}, folded: map[string]*Definition{}}

// Register adds a definition. It panics if a name is taken: two jobs of one name would
// run each other's payloads.
func Register(d *Definition) {
	registry.Lock()
	defer registry.Unlock()
	names := append([]string{d.Name}, d.Aliases...)
	for i, name := range names {
		if !ValidName(name) {
			panic(fmt.Sprintf("plainjobs: %s: job name %q: %s", d.Where, name, NameRule))
		}
		if slices.Contains(names[:i], name) {
			panic(fmt.Sprintf("plainjobs: %s: job %q has %q twice among its names", d.Where, d.Name, name))
		}
		if other := registry.byName[name]; other != nil {
			panic(fmt.Sprintf("plainjobs: job %q is defined twice, at %s and at %s; names are unique in a program, and "+
				"Define, Declare belong in package-level variables, where they run once", name, other.Where, d.Where))
		}
		if other := registry.folded[strings.ToLower(name)]; other != nil {
			panic(fmt.Sprintf("plainjobs: %s: job name %q differs only in case from a name of job %q, defined at %s: use another name",
				d.Where, name, other.Name, other.Where))
		}
	}
	for _, name := range names {
		registry.byName[name] = d
		registry.folded[strings.ToLower(name)] = d
	}
	registry.all = append(registry.all, d)
}

// Definitions returns all definitions, ordered by name.
func Definitions() []*Definition {
	registry.Lock()
	defer registry.Unlock()
	all := slices.Clone(registry.all)
	slices.SortFunc(all, func(a, b *Definition) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Lookup returns the definition with a name or alias, or nil.
func Lookup(name string) *Definition {
	registry.Lock()
	defer registry.Unlock()
	return registry.byName[name]
}

// NameRule is what [ValidName] asserts.
const NameRule = "a name is 1 to 128 of the characters a-z A-Z 0-9 . _ / : - and starts with a letter or digit"

// ValidName reports whether name matches [a-zA-Z0-9][a-zA-Z0-9._/:-]{0,127}.
func ValidName(name string) bool {
	if name == "" || len(name) > 128 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && strings.IndexByte("._/:-", c) >= 0:
		default:
			return false
		}
	}
	return true
}
