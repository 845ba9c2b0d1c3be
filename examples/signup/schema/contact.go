// Package schema has what the rows of the database are in Go. It imports nothing,
// which jobs and services share.
package schema

import "time"

// A Contact is a person on the list.
type Contact struct {
	Email string `json:"email"`
	Token string `json:"token"` // proves that the mail arrived

	CreatedAt time.Time `json:"created_at"`
	// SentAt is when the mail was sent, and ConfirmedAt when its link was followed.
	// Both may be zero.
	SentAt      time.Time `json:"sent_at,omitzero"`
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"`
}
