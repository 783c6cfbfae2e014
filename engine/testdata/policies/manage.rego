package mandate.manage

default decision := {"allow": false, "reasons": [{"code": "forbidden", "message": "not yours to change"}]}
