package serve

// Having counts the open streams, of those that wanted takes, which asked for a name,
// and those of them that have accepted what is published of it. Before a snapshot is
// published that holds the given output of a source, or a later one, nobody has it. It
// looks at every stream: for people, not for hot paths.
func (s *Server) Having(typeURL, name, source string, generation uint64, wanted func(*Stream) bool) (have, of int) {
	k, ok := kindOf([]byte(typeURL))
	if !ok {
		return 0, 0
	}
	_, holds := s.holds(source, generation)
	for _, st := range s.opened() {
		asked, current := st.having(k, name, wanted)
		if asked {
			of++
		}
		if current && holds != nil {
			have++
		}
	}
	return have, of
}

// having reports whether the client asked for a name, and whether it has it.
func (st *stream) having(k kind, name string, wanted func(*Stream) bool) (asked, current bool) {
	st.server.mu.RLock()
	defer st.server.mu.RUnlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	i, ok := st.subs[k].find([]byte(name))
	if !ok {
		return false, false
	}
	info, known := st.account()
	if !known || !wanted(&info) {
		return false, false
	}
	return true, st.subs[k].names[i].state() == HoldingCurrent
}
