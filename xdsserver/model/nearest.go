package model

// Nearest returns the one of known that name was most likely meant to be, or ""
// when none is near: at most a third of its letters (and one at least) may be
// wrong, missing, too many or swapped with their neighbour. Of equals the first
// in known wins.
func Nearest(name string, known []string) string {
	best, limit := "", max(1, len(name)/3)
	for _, k := range known {
		if d := distance(name, k, limit); d <= limit && k != name {
			best, limit = k, d-1
		}
		if limit == 0 {
			break // only the name itself is nearer
		}
	}
	return best
}

// distance is the optimal string alignment distance of a and b: how many
// letters to insert, delete, replace or swap with a neighbour. It gives up with
// limit+1 once that much is certain.
func distance(a, b string, limit int) int {
	if abs(len(a)-len(b)) > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit {
			return limit + 1
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
