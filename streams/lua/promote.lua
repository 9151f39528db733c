-- promote: make due jobs runnable, for classes that nobody takes from just now.
--
-- uses  ledger append
-- ARGV  class  str  resource class
--       count  int  at most this many in one call
-- Returns how many were promoted.
local due = redis.call('ZRANGEBYSCORE', due_ .. class, '-inf', now, 'LIMIT', 0, count)
for _, id in ipairs(due) do promote(id, class) end
close()
return #due
