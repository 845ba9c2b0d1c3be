package child

// A Kind is a kind of store. Kinds are bits, and can be combined.
type Kind uint8

// The kinds of stores.
const (
	Memory Kind = 1 << iota
	SQLite
	Postgres

	// Shared are the stores that several processes can open.
	Shared = SQLite | Postgres
)
