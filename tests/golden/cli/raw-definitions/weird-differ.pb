
&$
local://src
local.differweird
K
I
Gsha256:ee063decbafd2ba5d13e9151d34d1f26386224c2689d35eb67b9be6926121a26