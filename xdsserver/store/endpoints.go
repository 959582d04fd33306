package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// endpointRecord is one endpoint on disk. Unknown fields are ignored: they are a
// newer xdsserver's.
type endpointRecord struct {
	Namespace string    `json:"namespace"`
	Service   string    `json:"service"`
	Instance  string    `json:"instance"`
	Version   string    `json:"version,omitempty"`
	Region    string    `json:"region,omitempty"`
	Zone      string    `json:"zone,omitempty"`
	Addresses []string  `json:"addresses"`
	Weight    uint32    `json:"weight,omitempty"`
	Health    uint8     `json:"health,omitempty"`
	Since     time.Time `json:"since"`
}

// LoadEndpoints returns the endpoints of the last SaveEndpoints, in order of
// namespace, service and instance.
func (s *Store) LoadEndpoints() ([]model.Endpoint, error) {
	s.mu.Lock()
	saved := s.held.endpoints
	s.mu.Unlock()
	endpoints := make([]model.Endpoint, 0, len(saved))
	var bad error
	for _, key := range slices.Sorted(maps.Keys(saved)) {
		e, err := decodeEndpoint(saved[key])
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("store: endpoint %.200q: %w", key, err))
			continue
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, bad
}

// SaveEndpoints replaces the endpoints by these, the full set, and returns when
// they are on disk. What did not change is not written again.
func (s *Store) SaveEndpoints(endpoints []model.Endpoint) error {
	next := make(map[string][]byte, len(endpoints))
	for _, e := range endpoints {
		payload, err := encodeEndpoint(e)
		if err != nil {
			return fmt.Errorf("store: endpoint %s of %s: %w", e.Instance, e.Service, err)
		}
		next[e.Service.Namespace+"/"+e.Service.Name+"/"+e.Instance] = payload
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if maps.EqualFunc(s.held.endpoints, next, slices.Equal[[]byte]) {
		return nil
	}
	if err := s.write(func(tx *bbolt.Tx) error { return putRecords(tx.Bucket(endpointsBucket), s.held.endpoints, next) }); err != nil {
		return err
	}
	s.held.endpoints = next
	return nil
}

func encodeEndpoint(e model.Endpoint) ([]byte, error) {
	return json.Marshal(endpointRecord{
		Namespace: e.Service.Namespace,
		Service:   e.Service.Name,
		Instance:  e.Instance,
		Version:   e.Version,
		Region:    e.Region,
		Zone:      e.Zone,
		Addresses: e.Addresses,
		Weight:    e.Weight,
		Health:    uint8(e.Health),
		Since:     e.Since,
	})
}

func decodeEndpoint(payload []byte) (model.Endpoint, error) {
	var r endpointRecord
	if err := json.Unmarshal(payload, &r); err != nil {
		return model.Endpoint{}, err
	}
	if r.Service == "" || r.Namespace == "" || r.Instance == "" || len(r.Addresses) == 0 {
		return model.Endpoint{}, errors.New("service, namespace, instance or addresses are missing")
	}
	return model.Endpoint{
		Service:   model.ServiceName{Namespace: r.Namespace, Name: r.Service},
		Instance:  r.Instance,
		Version:   r.Version,
		Region:    r.Region,
		Zone:      r.Zone,
		Addresses: r.Addresses,
		Weight:    r.Weight,
		Health:    model.Health(r.Health),
		From:      model.Registered,
		Since:     r.Since,
	}, nil
}
