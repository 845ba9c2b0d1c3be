package child

// A Kind is a kind of store. Kinds are bits, and can be combined.
type Kind uint8

// The kinds of stores.
const (
	Memory Kind = 1 << iota
	SQLite
	Postgres
	MariaDB

	// Server are the stores on a server.
	Server = Postgres | MariaDB
	// Shared are the stores that several processes can open.
	Shared = SQLite | Server
)

// OnServer reports whether the store is on a server.
func (k Kind) OnServer() bool { return k&Server != 0 }
