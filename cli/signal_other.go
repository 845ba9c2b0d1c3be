//go:build !unix

package cli

import "os"

func hangup() []os.Signal { return nil }

func brokenPipes() <-chan os.Signal { return nil }
