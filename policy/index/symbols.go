package index

// Label keys and key-value pairs are interned: a label group is a sorted list of small
// numbers, and candidates for matching are found by number. Both are reference-counted,
// so that labels with ever-changing values (revision hashes, pod names) do not
// accumulate in a process that runs for months.

type (
	keyID  uint32
	pairID uint32
)

type keyInfo struct {
	name  string
	refs  int      // pairs, selectors and buckets that name the key
	pairs []pairID // live pairs of this key
	sels  int      // selectors that are filed under the presence of the key
}

type pairInfo struct {
	key    keyID
	keyPos int // in keyInfo.pairs
	value  string
	refs   int
	sels   int // selectors that are filed under the pair
	// groups lists the label groups whose own labels include the pair. Entries may be
	// stale (the group is gone or its number is reused): readers evaluate before they
	// rely on them. dead counts removals since the last cleaning.
	groups []groupID
	dead   int
	// namespaces or accounts that hold the pair, for keys with those prefixes.
	scopes map[*scope]struct{}
}

type pairKey struct {
	key   keyID
	value string
}

type symbols struct {
	keyByName map[string]keyID
	keys      []keyInfo
	freeKeys  []keyID
	pairByKey map[pairKey]pairID
	pairs     []pairInfo
	freePairs []pairID
}

func newSymbols() symbols {
	return symbols{keyByName: map[string]keyID{}, pairByKey: map[pairKey]pairID{}}
}

// key interns a key and takes a reference to it.
func (s *symbols) key(name string) keyID {
	if id, ok := s.keyByName[name]; ok {
		s.keys[id].refs++
		return id
	}
	var id keyID
	if n := len(s.freeKeys); n > 0 {
		id, s.freeKeys = s.freeKeys[n-1], s.freeKeys[:n-1]
		s.keys[id] = keyInfo{name: name, refs: 1}
	} else {
		id = keyID(len(s.keys))
		s.keys = append(s.keys, keyInfo{name: name, refs: 1})
	}
	s.keyByName[name] = id
	return id
}

func (s *symbols) releaseKey(id keyID) {
	k := &s.keys[id]
	if k.refs--; k.refs == 0 {
		delete(s.keyByName, k.name)
		*k = keyInfo{}
		s.freeKeys = append(s.freeKeys, id)
	}
}

// pair interns a key-value pair and takes a reference to it.
func (s *symbols) pair(name, value string) pairID {
	if k, ok := s.keyByName[name]; ok {
		if id, ok := s.pairByKey[pairKey{k, value}]; ok {
			s.pairs[id].refs++
			return id
		}
	}
	k := s.key(name)
	info := pairInfo{key: k, keyPos: len(s.keys[k].pairs), value: value, refs: 1}
	var id pairID
	if n := len(s.freePairs); n > 0 {
		id, s.freePairs = s.freePairs[n-1], s.freePairs[:n-1]
		s.pairs[id] = info
	} else {
		id = pairID(len(s.pairs))
		s.pairs = append(s.pairs, info)
	}
	s.keys[k].pairs = append(s.keys[k].pairs, id)
	s.pairByKey[pairKey{k, value}] = id
	return id
}

func (s *symbols) releasePair(id pairID) {
	p := &s.pairs[id]
	if p.refs--; p.refs > 0 {
		return
	}
	delete(s.pairByKey, pairKey{p.key, p.value})
	k := &s.keys[p.key]
	last := len(k.pairs) - 1
	moved := k.pairs[last]
	k.pairs[p.keyPos] = moved
	s.pairs[moved].keyPos = p.keyPos
	k.pairs = k.pairs[:last]
	s.releaseKey(p.key)
	s.pairs[id] = pairInfo{}
	s.freePairs = append(s.freePairs, id)
}

// find returns a key's number without taking a reference.
func (s *symbols) find(name string) (keyID, bool) {
	id, ok := s.keyByName[name]
	return id, ok
}
