package connect

import "time"

// CheckKept says what is wrong with a file.
func CheckKept(data []byte, now time.Time) error {
	_, err := decode(data, now)
	return err
}
