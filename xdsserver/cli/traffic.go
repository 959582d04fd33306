package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Each text is one cell of a table, empty for what is off.

// durationText is "250ms"; empty for none.
func durationText(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	text := d.AsDuration().String()
	// 2m0s is 2m, and 1h0m0s is 1h.
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// number is f without digits that say nothing.
func number(f float64) string {
	return strconv.FormatFloat(math.Round(f*10_000)/10_000, 'f', -1, 64)
}

func percentText(percent float64) string { return number(percent) + "%" }

func codeTexts(numbers []uint32) []string {
	out := make([]string, 0, len(numbers))
	for _, n := range numbers {
		out = append(out, resource.CodeName(n))
	}
	return out
}

// retryText is "unavailable,internal x3, 500ms each".
func retryText(r *policyv1.Retry) string {
	if r == nil {
		return ""
	}
	text := fmt.Sprintf("%s x%d", strings.Join(codeTexts(r.GetCodes()), ","), r.GetAttempts())
	if r.GetPerTryTimeout() != nil {
		text += ", " + durationText(r.GetPerTryTimeout()) + " each"
	}
	if !r.GetIdempotent() {
		text += ", unsent"
	}
	return text
}

// hedgeText is "x2 after 50ms", or "x2 after p95".
func hedgeText(h *policyv1.Hedge) string {
	if h == nil {
		return ""
	}
	after := "p" + number(h.GetQuantile()*100)
	if h.GetDelay() != nil {
		after = durationText(h.GetDelay())
	}
	return fmt.Sprintf("x%d after %s", h.GetAttempts(), after)
}

func mirrorsText(mirrors []*policyv1.Mirror) string {
	parts := make([]string, 0, len(mirrors))
	for _, m := range mirrors {
		parts = append(parts, fmt.Sprintf("%s %s", m.GetCluster(), perMillionText(m.GetPerMillion())))
	}
	return strings.Join(parts, ",")
}

func perMillionText(n uint32) string { return percentText(float64(n) / 10_000) }

// faultText is "delay 100ms 50%,abort unavailable 10%".
func faultText(f *adminv1.CallFault) string {
	var parts []string
	if f.GetDelayPercent() > 0 {
		delay := durationText(f.GetDelay())
		if f.GetDelayByHeader() {
			delay = "by header"
		}
		parts = append(parts, fmt.Sprintf("delay %s %s", delay, percentText(f.GetDelayPercent())))
	}
	if f.GetAbortPercent() > 0 {
		code := resource.CodeName(f.GetAbortCode())
		if f.GetAbortByHeader() {
			code = "by header"
		}
		parts = append(parts, fmt.Sprintf("abort %s %s", code, percentText(f.GetAbortPercent())))
	}
	return strings.Join(parts, ",")
}

// budgetText is "20% + 10/s over 10s"; none is needed where nothing is tried again.
func budgetText(r *adminv1.CallRoute) string {
	b := r.GetTraffic().GetRetryBudget()
	if b == nil || r.GetTraffic().GetRetry() == nil && r.GetTraffic().GetHedge() == nil {
		return ""
	}
	return fmt.Sprintf("%s + %s/s over %s", percentText(b.GetPercent()), number(b.GetMinPerSecond()), durationText(b.GetWindow()))
}

// breakerText is "7 in a row, 1s to 1m", with "or under 80% of 5 in 10s".
func breakerText(b *policyv1.Breaker) string {
	if b == nil {
		return ""
	}
	var when []string
	if b.GetConsecutiveFailures() > 0 {
		when = append(when, fmt.Sprintf("%d in a row", b.GetConsecutiveFailures()))
	}
	if b.GetSuccessRate() > 0 {
		when = append(when, fmt.Sprintf("under %s of %d in %s", percentText(b.GetSuccessRate()*100), b.GetMinRequests(), durationText(b.GetWindow())))
	}
	return fmt.Sprintf("%s, %s to %s", strings.Join(when, " or "), durationText(b.GetMinPenalty()), durationText(b.GetMaxPenalty()))
}

// policyText is the name of a policy, as configuration has it.
func policyText(p policyv1.Balancing_Policy) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(p.String(), "POLICY_"), "_", "-"))
}

// balancingText is "peak-ewma, own zone", and what else is not as it is everywhere.
func balancingText(b *policyv1.Balancing) string {
	if b == nil {
		return ""
	}
	parts := []string{policyText(b.GetPolicy())}
	if b.GetZone().GetMode() == policyv1.Zone_MODE_PREFER {
		parts = append(parts, "own zone")
	}
	if b.GetSubset() > 0 {
		parts = append(parts, fmt.Sprintf("subset of %d", b.GetSubset()))
	}
	if s := b.GetSlowStart(); s != nil {
		parts = append(parts, "slow start "+durationText(s.GetWindow()))
	}
	if b.GetOutlierDetection() != nil {
		parts = append(parts, "outlier detection")
	}
	return strings.Join(parts, ", ")
}

func rateText(r *policyv1.Rate) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%s/s, burst %d", number(r.GetPerSecond()), r.GetBurst())
}

// capsText is "1024 open, 100 each endpoint".
func capsText(b *adminv1.CallBackend) string {
	if b.GetBalancing() == nil {
		return ""
	}
	text := fmt.Sprintf("%d open", b.GetMaxRequests())
	if each := b.GetBalancing().GetMaxRequestsPerEndpoint(); each > 0 {
		text += fmt.Sprintf(", %d each endpoint", each)
	}
	return text
}

// headersText is "set x=1, add y=2, remove z".
func headersText(h *policyv1.Headers) string {
	parts := make([]string, 0, len(h.GetSet())+len(h.GetAdd())+len(h.GetRemove()))
	for _, v := range h.GetSet() {
		parts = append(parts, "set "+v.GetName()+"="+v.GetValue())
	}
	for _, v := range h.GetAdd() {
		parts = append(parts, "add "+v.GetName()+"="+v.GetValue())
	}
	for _, name := range h.GetRemove() {
		parts = append(parts, "remove "+name)
	}
	return strings.Join(parts, ", ")
}
