-- Moves the read mark of a user forward. One hash slot: both keys share the hash tag {room}.
--
-- KEYS[1]  log   stream
-- KEYS[2]  seen  hash; field user, value position
-- ARGV[1]  user
-- ARGV[2]  position
-- ARGV[3]  time for which the marks of the room live without another mark, in ms
--
-- Reply: the mark, which is the largest of ARGV[2] and the mark before, and at most the head of the log.

local log, seen = KEYS[1], KEYS[2]
local user, pos, expiry = unpack(ARGV)

local function is_before(one, other)
  local epoch, offset = string.match(one, '(%d+)-(%d+)')
  local other_epoch, other_offset = string.match(other, '(%d+)-(%d+)')
  epoch, other_epoch = tonumber(epoch), tonumber(other_epoch)
  return epoch < other_epoch or (epoch == other_epoch and tonumber(offset) < tonumber(other_offset))
end

local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local head = last and last[1] or '0-0'
if is_before(head, pos) then
  pos = head
end
local mark = redis.call('HGET', seen, user)
if mark and not is_before(mark, pos) then
  return mark
end
if pos ~= '0-0' then
  redis.call('HSET', seen, user, pos)
  redis.call('PEXPIRE', seen, expiry)
end
return pos
