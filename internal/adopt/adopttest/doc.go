// Package adopttest tests package adopt on tables that the other libraries have created and
// filled. It is a separate module, so that plainjobs does not depend on them.
package adopttest
