--[[ Forget a sink with everything that it is owed.

KEYS[1] lanes:SINK  zset  see claim.lua
KEYS[2..4] sink:SINK (hash), dead:SINK (stream), claims:SINK (zset)

Returns how many lanes that were. ]]

local prefix = string.gsub(KEYS[1], 'lanes:(.*)$', 'lane:%1:', 1)
local lanes = redis.call('ZRANGE', KEYS[1], 0, -1)
for _, key in ipairs(lanes) do redis.call('DEL', prefix .. key) end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return #lanes
