package plainjobs

// NameOf is nameOf.
var NameOf = nameOf
