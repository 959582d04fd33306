package api

import (
	"fmt"
	"strings"
	"testing"
)

func sample() JoinToken {
	t := JoinToken{Address: "10.0.0.5:18000"}
	for i := range t.Secret {
		t.Secret[i], t.Pin[i] = byte(i), byte(200-i)
	}
	copy(t.ID[:], "sampleid")
	return t
}

func TestJoinTokenSurvivesItsText(t *testing.T) {
	want := sample()
	got, err := ParseJoinToken("  " + want.Reveal() + "\n")
	if err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestJoinTokenIsNotPrintedByMistake(t *testing.T) {
	token := sample()
	secret := strings.Split(token.Reveal(), ".")[2]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, token); strings.Contains(text, secret) {
			t.Errorf("%s prints the secret", verb)
		}
	}
}

func TestParseJoinTokenRefusesWhatIsNoTokenWithoutRepeatingIt(t *testing.T) {
	good := sample().Reveal()
	for name, test := range map[string]struct{ text, want string }{
		"nothing":            {"", "no '@'"},
		"the address is cut": {strings.Split(good, "@")[0], "no '@'"},
		"another form":       {strings.Replace(good, "tulle1", "tulle2", 1), "not of the form"},
		"a part is missing":  {strings.Replace(good, ".", "", 1), "not of the form"},
		"a secret cut short": {strings.Replace(good, ".", ".A", 2)[:40] + "@h:1", "not of the form"},
		"a damaged id":       {strings.Replace(good, "tulle1.", "tulle1.!", 1), "id is damaged"},
		"no port":            {strings.Split(good, "@")[0] + "@10.0.0.5", "HOST:PORT"},
		"no host":            {strings.Split(good, "@")[0] + "@:18000", "HOST:PORT"},
		"a path":             {strings.Split(good, "@")[0] + "@h:1/x", "HOST:PORT"},
		"much too long":      {good + strings.Repeat("a", 500), "are the most"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseJoinToken(test.text)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
			if len(test.text) > 20 && strings.Contains(err.Error(), test.text[10:20]) {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}

func FuzzParseJoinToken(f *testing.F) {
	f.Add(sample().Reveal())
	f.Add("tulle1...@:")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseJoinToken(text)
		if err != nil {
			return
		}
		if again, err := ParseJoinToken(token.Reveal()); err != nil || again != token {
			t.Errorf("%q is read as %v, and that as %v, %v", text, token, again, err)
		}
	})
}
