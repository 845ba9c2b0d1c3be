package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
)

// writeSums writes the sums of the files below root in the format of sha256sum(1), with
// dir instead of root.
func writeSums(ctx context.Context, w io.Writer, sums *table, root, dir string) error {
	buffered := bufio.NewWriter(w)
	err := sums.each(ctx, root, true, func(r row) error {
		_, err := buffered.WriteString(sumLine(r.sum, nameIn(dir, root, string(r.path))))
		return err
	})
	if err != nil {
		return err
	}
	return buffered.Flush()
}

// nameIn returns path, which is below root, as a path below dir.
func nameIn(dir, root, path string) string {
	trim := func(s string) string { return strings.TrimSuffix(s, separator) }
	return trim(dir) + strings.TrimPrefix(path, trim(root))
}

var escaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// sumLine returns a line of sha256sum(1). It starts with a backslash if the name is
// escaped.
func sumLine(sum []byte, name string) string {
	mark, escaped := "", escaper.Replace(name)
	if escaped != name {
		mark = `\`
	}
	return fmt.Sprintf("%s%x  %s\n", mark, sum, escaped)
}
