# What is in and beside /etc of a target: mode, owner, size, name.
target=$1; shift
bkl build "$target" -o type=tar,dest=- --progress quiet "$@" | TZ=UTC tar tvf - |
  awk '$6 !~ /^bin/ { print $1, $2, $3, $6, $7, $8 }' | sed 's/ *$//'
