// Package modeltest finds what somebody who writes out values of the model forgets.
//
// A field that is added to the model is served at once, and shown only by who was told
// of it: until then a policy would be shown wider than it is. It looks at values by
// reflection, and is for tests only.
package modeltest

import (
	"reflect"
	"testing"
	"time"
)

// EveryField fails the test for each field that zero, a pointer to a struct, reaches and
// that makes no difference to what say returns. unsaid are those that need not, by
// "Type.Field", with the reason why; one that does make a difference fails, too.
func EveryField[T any](t *testing.T, zero *T, say func(*T) string, unsaid map[string]string) {
	t.Helper()
	w := walk{unsaid: unsaid, said: map[string]bool{}, names: map[string]string{}}
	// Some fields count only where a flag is set, others where it is not.
	for _, flags := range []bool{false, true} {
		v := reflect.ValueOf(zero).Elem()
		fill(v, flags)
		w.say = func() string { return say(zero) }
		w.was = w.say()
		w.fields(v, "")
	}
	for path, said := range w.said {
		name := w.names[path]
		_, need := unsaid[name]
		switch {
		case !said && !need:
			t.Errorf("%s (%s) makes no difference: who reads this is told of something else than what is enforced", path, name)
		case said && need:
			t.Errorf("%s (%s) makes a difference: it is not unsaid", path, name)
		}
	}
}

var moment = time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)

// fill has every field say something.
func fill(v reflect.Value, flags bool) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(moment))
			return
		}
		for _, f := range v.Fields() {
			fill(f, flags)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), flags)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), flags)
	case reflect.Bool:
		v.SetBool(flags)
	default:
		v.Set(other(reflect.Zero(v.Type())))
	}
}

type walk struct {
	say    func() string
	was    string
	unsaid map[string]string
	// said and names, "Type.Field", are by path.
	said  map[string]bool
	names map[string]string
}

func (w *walk) fields(v reflect.Value, path string) {
	for f, value := range v.Fields() {
		at := path + "." + f.Name
		w.names[at] = v.Type().Name() + "." + f.Name
		w.field(value, at)
	}
}

func (w *walk) field(v reflect.Value, path string) {
	before := reflect.ValueOf(v.Interface())
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() != reflect.TypeFor[time.Time]() {
			if _, need := w.unsaid[w.names[path]]; !need {
				w.fields(v, path)
			}
			return
		}
		v.Set(reflect.ValueOf(moment.Add(time.Hour)))
	case reflect.Pointer, reflect.Slice:
		w.inside(v, path)
		v.SetZero()
	case reflect.Bool:
		v.SetBool(!v.Bool())
	default:
		v.Set(other(v))
	}
	w.said[path] = w.said[path] || w.say() != w.was
	v.Set(before)
}

// inside looks at what a pointer or the one entry of a slice is.
func (w *walk) inside(v reflect.Value, path string) {
	var inner reflect.Value
	if v.Kind() == reflect.Slice {
		inner = v.Index(0)
	} else {
		inner = v.Elem()
	}
	if inner.Kind() == reflect.Struct {
		w.fields(inner, path)
	}
}

// other is another value of the kind.
func other(v reflect.Value) reflect.Value {
	o := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		o.SetString(v.String() + "a")
	case reflect.Float64:
		o.SetFloat(v.Float() + 1)
	case reflect.Int64:
		o.SetInt(v.Int() + int64(time.Second))
	default:
		o.SetUint(v.Uint() + 1)
	}
	return o
}
