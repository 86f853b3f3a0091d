package orders

import (
	"fmt"
	"strings"
	"testing"
)

func TestOtherServicesAreCalled(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		ways := []string{"plain", "secure"}
		if s.Guest == "orders-rust" {
			ways = append(ways, "blocking")
		}
		for _, way := range ways {
			for range 3 { // the later ones on a connection that was kept, if any was
				s.want(t, "GET", "/shipping/"+way, "", 200, Rates)
			}
		}
	})
}

func TestCertificatesAreChecked(t *testing.T) {
	needsStage(t)
	other, err := NewAuthority("another authority")
	if err != nil {
		t.Fatal(err)
	}
	url := func(host string, port int) string { return fmt.Sprintf("https://%s:%d/rates", host, port) }
	for _, tt := range []struct {
		name   string
		config ServiceConfig
		// why is a part of what each guest says.
		why map[string]string
	}{
		{"another authority", ServiceConfig{Trust: other}, map[string]string{
			"orders-rust": "invalid peer certificate: UnknownIssuer", "orders-go": "certificate signed by unknown authority"}},
		{"another name", ServiceConfig{Env: map[string]string{"SECURE_SHIPPING_URL": url(otherNameHost, securePort)}}, map[string]string{
			"orders-rust": "invalid peer certificate: certificate not valid for name", "orders-go": "certificate is valid for " + shippingHost + ", not " + otherNameHost}},
		{"expired", ServiceConfig{Env: map[string]string{"SECURE_SHIPPING_URL": url(shippingHost, expiredPort)}}, map[string]string{
			"orders-rust": "invalid peer certificate: certificate expired", "orders-go": "certificate has expired"}},
		{"no TLS", ServiceConfig{Env: map[string]string{"SECURE_SHIPPING_URL": url(shippingHost, shippingPort)}}, map[string]string{
			"orders-rust": "received corrupt message", "orders-go": "server gave HTTP response to HTTPS client"}},
		{"nobody there", ServiceConfig{Env: map[string]string{"SECURE_SHIPPING_URL": url(shippingHost, 1)}}, map[string]string{
			"orders-rust": "onnection refused", "orders-go": "onnection refused"}},
		{"no such name", ServiceConfig{Env: map[string]string{"SECURE_SHIPPING_URL": url("nowhere.shop.test", securePort)}}, map[string]string{
			"orders-rust": "", "orders-go": "nowhere.shop.test"}},
	} {
		for _, guest := range guests {
			t.Run(tt.name+"/"+guest, func(t *testing.T) {
				tt.config.Guest = guest
				s := one(t, tt.config)
				code, body := s.do(t, "GET", "/shipping/secure", "")
				if code != 502 || !strings.HasPrefix(body, `{"error":"shipping: `) || !strings.Contains(body, tt.why[guest]) {
					t.Errorf("got %d %s, want 502 and %q", code, body, tt.why[guest])
				}
				s.want(t, "GET", "/shipping/plain", "", 200, Rates)
			})
		}
	}
}
