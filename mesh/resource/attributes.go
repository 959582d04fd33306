package resource

import "google.golang.org/grpc/attributes"

type configKey struct{}

// WithConfig returns attrs with c added, for a resolver.State on its way to the
// balancer. attrs may be nil.
func WithConfig(attrs *attributes.Attributes, c *Config) *attributes.Attributes {
	return attrs.WithValue(configKey{}, c)
}

// ConfigFrom returns the Config that [WithConfig] put into attrs, nil if there
// is none. attrs may be nil.
func ConfigFrom(attrs *attributes.Attributes) *Config {
	c, _ := attrs.Value(configKey{}).(*Config)
	return c
}
