package child

// A Kind is a kind of store, or several, as they are bits.
type Kind uint8

// The kinds of stores.
const (
	Memory Kind = 1 << iota
	SQLite
	Postgres

	// Shared are those that several processes open.
	Shared = SQLite | Postgres
)
