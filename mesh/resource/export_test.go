package resource

// Remembered is how many methods vh remembers the matching of.
func Remembered(vh *VirtualHost) int { return len(*vh.plans.Load()) }
