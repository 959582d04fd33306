// Package kv keeps the applied objects and the join tokens in Consul's KV store, for any
// number of xdsservers that share them. It does what [store.Store] does on one disk.
//
//	s, err := kv.Open(ctx, kv.Config{Client: client, CacheFile: filepath.Join(data, "consul.cache")})
//	if err != nil {
//		return err // says what to do
//	}
//	go s.Run(ctx, emit) // follows Consul, and is what the others are told by
//	revision, err := s.Apply(ctx, changes, store.Intent{By: "ann"})
//
// It is a log. Revision n is the key objects/revisions/n, written once, in one
// transaction with the condition that revision n-1 is as this xdsserver read it: whoever
// creates the key has made the change, whoever does not reads what the other did and
// tries again. A record says who changed what, and names the record before it by its
// hash, so that a log which was put back or changed by hand is seen to be another one.
// A change too large for one value lies in objects/parts, written before the record that
// names it.
//
// Every xdsserver folds the log into the objects. The one that leads shortens it: from
// time to time it writes the objects as they were 200 revisions ago to objects/snapshot,
// and removes what came before.
//
// What is served comes from memory, and last known good from a file, so that an
// xdsserver goes on, and even starts, while Consul is away; it never takes silence for
// an empty mesh. Nothing can be changed meanwhile.
//
// Who may write below the prefix of the mesh in Consul decides over the mesh.
package kv
