package mandate.access

import data.mandate.request # want: compile

decision := {"allow": false, "reasons": [], "obligations": []}

unused if {
	x := 1 # want: compile
}

called if http.send({"method": "GET", "url": "https://idp.acme.example"}) # want: compile
