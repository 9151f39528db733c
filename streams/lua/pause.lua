-- pause: stop or resume a class; its open time stands meanwhile.
--
-- uses  ledger append
-- ARGV  class  str  resource class
--       pause  int  1 or 0
-- Returns 1 when that changed anything.
local was = clock(class).paused
tick(class)
if pause == '1' then
  redis.call('HSET', clock_ .. class, 'paused', 1)
else
  redis.call('HDEL', clock_ .. class, 'paused')
  if was then ring(class) end
end
return (was ~= (pause == '1')) and 1 or 0
