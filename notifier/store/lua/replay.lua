--[[ Move dead letters back into their lanes, behind what waits there.

KEYS[1] dead:SINK   stream  dead letters
KEYS[2] lanes:SINK  zset    see claim.lua
ARGV    now (us), then triples: dead letter id, lane key, delivery

A letter that is gone (replayed or dropped by somebody else) is passed over. Returns how many were moved. ]]

local prefix = string.gsub(KEYS[2], 'lanes:(.*)$', 'lane:%1:', 1)
local moved = 0
for at = 2, #ARGV, 3 do
  local letter, key = ARGV[at], ARGV[at + 1]
  if #try(nil, 'XRANGE', KEYS[1], letter, letter) == 1 then
    push(KEYS[2], prefix .. key, key, ARGV[1], ARGV[at + 2])
    try(nil, 'XDEL', KEYS[1], letter)
    done()
    moved = moved + 1
  end
end
return moved
