package resource

import (
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// defaultOutlier returns what is not said of a detection (gRFC A50).
func defaultOutlier() OutlierDetection {
	return OutlierDetection{Interval: 10 * time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 300 * time.Second}
}

var (
	defaultSuccessRate       = OutlierSuccessRate{StdevFactor: 1900, MinimumHosts: 5, RequestVolume: 100}
	defaultFailurePercentage = OutlierFailurePercentage{Threshold: 85, MinimumHosts: 5, RequestVolume: 50}
)

// standardEjectedPercent is the max_ejection_percent that is not set (gRFC A50).
const standardEjectedPercent = 10

// minInterval keeps the time that detection takes small.
const minInterval = 10 * time.Millisecond

// decodeOutlier reads the standard field, and how many of the endpoints may be
// ejected, in percent (gRFC A50). m is not nil.
func decodeOutlier(m *xdsv3.OutlierDetection) (o *OutlierDetection, ejected uint32, err error) {
	if err := known(m); err != nil {
		return nil, 0, err
	}
	var r reading
	d := defaultOutlier()
	o = &OutlierDetection{
		Interval:         r.duration("interval", m.GetInterval(), d.Interval, minInterval),
		BaseEjectionTime: r.duration("base_ejection_time", m.GetBaseEjectionTime(), d.BaseEjectionTime, 0),
		MaxEjectionTime:  r.duration("max_ejection_time", m.GetMaxEjectionTime(), d.MaxEjectionTime, 0),
	}
	ejected = r.percent("max_ejection_percent", m.GetMaxEjectionPercent(), standardEjectedPercent)
	threshold := r.percent("failure_percentage_threshold", m.GetFailurePercentageThreshold(), defaultFailurePercentage.Threshold)
	if r.enforced("enforcing_success_rate", m.GetEnforcingSuccessRate(), true) {
		o.SuccessRate = &OutlierSuccessRate{
			StdevFactor:   valueOr(m.GetSuccessRateStdevFactor(), defaultSuccessRate.StdevFactor),
			MinimumHosts:  valueOr(m.GetSuccessRateMinimumHosts(), defaultSuccessRate.MinimumHosts),
			RequestVolume: valueOr(m.GetSuccessRateRequestVolume(), defaultSuccessRate.RequestVolume),
		}
	}
	if r.enforced("enforcing_failure_percentage", m.GetEnforcingFailurePercentage(), false) {
		o.FailurePercentage = &OutlierFailurePercentage{
			Threshold:     threshold,
			MinimumHosts:  valueOr(m.GetFailurePercentageMinimumHosts(), defaultFailurePercentage.MinimumHosts),
			RequestVolume: valueOr(m.GetFailurePercentageRequestVolume(), defaultFailurePercentage.RequestVolume),
		}
	}
	return o, ejected, r.err
}

// enforced reads how likely it is that an outlier is ejected, which here is
// certain or never so.
func (r *reading) enforced(field string, m *wrapperspb.UInt32Value, unset bool) bool {
	if m == nil {
		return unset
	}
	if v := m.GetValue(); v != 0 && v != 100 {
		r.fail(field, "is %d, it must be 0 or 100: an outlier is ejected here, or it is not", v)
	}
	return m.GetValue() > 0
}

func (r *reading) percent(field string, m *wrapperspb.UInt32Value, unset uint32) uint32 {
	v := valueOr(m, unset)
	if v > 100 {
		r.fail(field, "is %d, at most 100 is accepted", v)
	}
	return v
}

func valueOr(m *wrapperspb.UInt32Value, unset uint32) uint32 {
	if m == nil {
		return unset
	}
	return m.GetValue()
}

// decodeOwnOutlier reads the mesh's own. m is not nil.
func decodeOwnOutlier(m *xdsv3.OwnOutlierDetection) (*OutlierDetection, error) {
	var r reading
	d := defaultOutlier()
	o := &OutlierDetection{
		Interval:         r.duration("interval", m.GetInterval(), d.Interval, minInterval),
		BaseEjectionTime: r.duration("base_ejection_time", m.GetBaseEjectionTime(), d.BaseEjectionTime, 0),
		MaxEjectionTime:  r.duration("max_ejection_time", m.GetMaxEjectionTime(), d.MaxEjectionTime, 0),
	}
	if m := m.GetSuccessRate(); m != nil {
		d := defaultSuccessRate
		o.SuccessRate = &OutlierSuccessRate{
			StdevFactor:   r.count("success_rate.stdev_factor", m.GetStdevFactor(), d.StdevFactor, 1, 1_000_000),
			MinimumHosts:  r.count("success_rate.minimum_hosts", m.GetMinimumHosts(), d.MinimumHosts, 1, maxEndpoints),
			RequestVolume: r.count("success_rate.request_volume", m.GetRequestVolume(), d.RequestVolume, 1, maxPerSecond),
		}
	}
	if m := m.GetFailurePercentage(); m != nil {
		d := defaultFailurePercentage
		o.FailurePercentage = &OutlierFailurePercentage{
			Threshold:     r.count("failure_percentage.threshold", m.GetThreshold(), d.Threshold, 1, 100),
			MinimumHosts:  r.count("failure_percentage.minimum_hosts", m.GetMinimumHosts(), d.MinimumHosts, 1, maxEndpoints),
			RequestVolume: r.count("failure_percentage.request_volume", m.GetRequestVolume(), d.RequestVolume, 1, maxPerSecond),
		}
	}
	return o, r.err
}
