package engine

import "time"

// The sizes of pages of an operation on many jobs. A store with one writer claims nothing
// while a page is changed, so a page is to take about pageWait. A store on a server
// answers later than that whatever the size, so a page is never smaller than FirstPage.
const (
	FirstPage   = 50
	largestPage = 500
	pageWait    = 8 * time.Millisecond
)

// PageSize returns the size of the next page, after one of a size took a time.
func PageSize(size int, took time.Duration) int {
	switch {
	case took > 2*pageWait:
		return max(size/2, FirstPage)
	case took > pageWait:
		return max(size*3/4, FirstPage)
	}
	return min(size+size/4+1, largestPage)
}
