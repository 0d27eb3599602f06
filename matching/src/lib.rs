//! Topics, the filter language and the subscription index of Fanal, without IO.
