package plainjobs

// NameOf exports nameOf to tests.
var NameOf = nameOf
