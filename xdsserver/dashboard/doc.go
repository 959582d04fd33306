// Package dashboard serves the web page that shows the mesh, and what the page asks.
//
//	d := dashboard.New(dashboard.Config{API: api, URL: "http://127.0.0.1:18080"})
//	login, err := d.CreateLogin(admin.LoginRequest{By: "user 1000", May: may, Session: time.Hour})
//	// d.Handler() on a port, beside d.Run(ctx); open login.URL in a browser
//
// It knows the mesh by the admin API alone, which it calls in process, each time with
// the rights of the session that asks. Who has a session came by an address that works
// once, within five minutes ('xdsserver dashboard' prints it), and holds a cookie that no
// script reads. What stays the same for all who watch is asked, and written as JSON, once.
//
// A browser shows pages of everybody, and those can send requests here, too. So each
// request must name a host of ours (DNS rebinding), must not say that another site made it
// (Sec-Fetch-Site, Origin), and must carry a header that a form or an image cannot, where
// the browser says neither. There is no CORS. What the page may load is what this
// package serves.
//
// The page is in dist, which the build in web makes.
package dashboard
