//go:build !unix

package sqlite

import "os"

// Who may use a file is another matter on this system.

func giveToOwner(*os.File, string)                {}
func shareAs(string, string, os.FileMode) error   { return nil }
func makeSideFiles(string)                        {}
func shareSideFiles(string)                       {}
func explainPermission(_ string, err error) error { return err }

// makeSideDir makes the directory beside a database if it is not there.
func makeSideDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if isDir(dir) {
		return nil
	}
	return err
}

func likeDatabase(string, string) error { return nil }
func syncDir(string) error              { return nil }
