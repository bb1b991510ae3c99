

	weird://a
K
I
Gsha256:ff3a3c5ece6f275cdeead66edf2aa8b9906946646239a31ce7609956d7ddcf23