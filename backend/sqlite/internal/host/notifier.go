package host

// A Signal is the byte that a [Notifier] sends: a set of bits, of which the sender
// and the receiver know the meaning. Zero is never sent.
type Signal uint8
