package deploy

import (
	"reflect"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// fillValue sets every field, however deep, to something.
func fillValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fillValue(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fillValue(key)
		fillValue(elem)
		v.SetMapIndex(key, elem)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	}
}

// shared names the first pointer, slice or map that two values have in common.
func shared(a, b reflect.Value, path string) string {
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return ""
		}
		if a.Pointer() == b.Pointer() && a.Type().Elem().Size() > 0 {
			return path
		}
		return shared(a.Elem(), b.Elem(), path)
	case reflect.Struct:
		for i := range a.NumField() {
			if s := shared(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name); s != "" {
				return s
			}
		}
	case reflect.Slice:
		if a.Len() > 0 && a.Pointer() == b.Pointer() {
			return path
		}
		for i := range min(a.Len(), b.Len()) {
			if s := shared(a.Index(i), b.Index(i), path+"[]"); s != "" {
				return s
			}
		}
	case reflect.Map:
		if a.Len() > 0 && a.Pointer() == b.Pointer() {
			return path
		}
	}
	return ""
}

func TestClonesShareNothing(t *testing.T) {
	t.Parallel()
	var s swarm.ServiceSpec
	fillValue(reflect.ValueOf(&s).Elem())
	c := cloneSpec(s)
	if !reflect.DeepEqual(s, c) {
		t.Errorf("the copy of a service differs:\n%+v\n%+v", s, c)
	}
	if p := shared(reflect.ValueOf(s), reflect.ValueOf(c), "ServiceSpec"); p != "" {
		t.Errorf("a service and its copy share %s", p)
	}
	var n network.CreateOptions
	fillValue(reflect.ValueOf(&n).Elem())
	m := cloneNetwork(n)
	if !reflect.DeepEqual(n, m) {
		t.Errorf("the copy of a network differs:\n%+v\n%+v", n, m)
	}
	if p := shared(reflect.ValueOf(n), reflect.ValueOf(m), "CreateOptions"); p != "" {
		t.Errorf("a network and its copy share %s", p)
	}
}
