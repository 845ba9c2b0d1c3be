//go:build !unix

package torture

import "os"

const haveSignals = false

// Tests that send these are skipped here.
var sigStop, sigCont, sigTerm os.Signal = os.Kill, os.Kill, os.Kill
